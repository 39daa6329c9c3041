import { PageHead } from "../../ui/bits";

export function ModelsPage() {
  return <PageHead title="models" />;
}
