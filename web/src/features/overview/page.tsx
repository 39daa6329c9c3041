import { PageHead } from "../../ui/bits";

export function OverviewPage() {
  return <PageHead title="overview" />;
}
