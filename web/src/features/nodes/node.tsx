import { PageHead } from "../../ui/bits";

export function NodePage() {
  return <PageHead title="nodes" />;
}
