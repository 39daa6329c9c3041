import { PageHead } from "../../ui/bits";

export function CreatePage() {
  return <PageHead title="create" />;
}
