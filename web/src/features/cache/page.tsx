import { PageHead } from "../../ui/bits";

export function CachePage() {
  return <PageHead title="cache" />;
}
