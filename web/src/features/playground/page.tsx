import { PageHead } from "../../ui/bits";

export function PlaygroundPage() {
  return <PageHead title="playground" />;
}
