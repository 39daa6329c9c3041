import type { ReactNode } from "react";
import { DotsGlyph } from "./glyphs";
import { type Items, PopMenu } from "./PopMenu";

/** What can be done with one row. `label` names the row. */
export function RowMenu({ label, children }: { label: string; children: (menu: Items) => ReactNode }) {
  return (
    <PopMenu label={label} icon={<DotsGlyph />}>
      {children}
    </PopMenu>
  );
}
