import { PageHead } from "../../ui/bits";

export function AuditPage() {
  return <PageHead title="audit" />;
}
