import { PageHead } from "../../ui/bits";

export function DetailPage() {
  return <PageHead title="detail" />;
}
