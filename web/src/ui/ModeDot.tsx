import { useTranslation } from "react-i18next";
import type { Mode } from "../api/keep";

const color: Record<Mode, string> = { live: "teal", polling: "blue", offline: "red", connecting: "gray" };

/** How current what is shown is: followed live, looked at now and then, or cut off. */
export function ModeDot({ mode }: { mode: Mode }) {
  const { t } = useTranslation();
  return (
    <span className="mode small dim" role="status" data-live={mode} data-tip={t(`modeHint.${mode}`)} tabIndex={0}>
      <span aria-hidden="true" className="dot" style={{ background: `var(--mantine-color-${color[mode]}-filled)` }} />
      {t(`mode.${mode}`)}
    </span>
  );
}
