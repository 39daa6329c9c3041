import access from "./access.json";
import audit from "./audit.json";
import cache from "./cache.json";
import common from "./common.json";
import create from "./create.json";
import detail from "./detail.json";
import login from "./login.json";
import migration from "./migration.json";
import models from "./models.json";
import nodes from "./nodes.json";
import overview from "./overview.json";
import playground from "./playground.json";
import settings from "./settings.json";
import templates from "./templates.json";

export default { access, audit, cache, common, create, detail, login, migration, models, nodes, overview, playground, settings, templates };
