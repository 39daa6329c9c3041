import { PageHead } from "../../ui/bits";

export function SettingsPage() {
  return <PageHead title="settings" />;
}
