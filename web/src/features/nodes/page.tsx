import { PageHead } from "../../ui/bits";

export function NodesPage() {
  return <PageHead title="nodes" />;
}
