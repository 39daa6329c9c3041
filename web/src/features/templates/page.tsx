import { PageHead } from "../../ui/bits";

export function TemplatesPage() {
  return <PageHead title="templates" />;
}
