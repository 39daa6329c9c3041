import type { ReactNode } from "react";
import { DotsGlyph } from "./glyphs";
import { PopMenu } from "./PopMenu";

/** What can be done with one row. `label` names the row. */
export function RowMenu({ label, children }: { label: string; children: ReactNode }) {
  return (
    <PopMenu label={label} icon={<DotsGlyph />}>
      {children}
    </PopMenu>
  );
}
