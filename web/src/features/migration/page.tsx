import { PageHead } from "../../ui/bits";

export function MigrationPage() {
  return <PageHead title="migration" />;
}
