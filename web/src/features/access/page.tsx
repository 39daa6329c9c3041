import { PageHead } from "../../ui/bits";

export function AccessPage() {
  return <PageHead title="access" />;
}
