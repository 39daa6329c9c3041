import type { Menu } from "@mantine/core";
import { type ReactNode, useRef, useState } from "react";
import { flushSync } from "react-dom";
import { fetchOverlays, overlays } from "./overlays";

/** What a menu is made of. */
export type Items = Pick<typeof Menu, "Item" | "Label">;

type Props = {
  /** What the button is called; it is only a picture. */
  label: string;
  icon: ReactNode;
  /** With a border, for the head of the page. */
  framed?: boolean;
  children: (menu: Items) => ReactNode;
};

/** A button that opens a menu. The menu is made when it is first asked for: a page has one in each of its rows, and few are ever opened. */
export function PopMenu({ label, icon, framed, children }: Props) {
  const [made, setMade] = useState(false);
  const [open, setOpen] = useState(false);
  const target = useRef<HTMLButtonElement>(null);
  const show = () => {
    // The button is made anew within the menu; it has to have the focus when the menu opens, to get it back when that closes.
    flushSync(() => setMade(true));
    target.current?.focus();
    setOpen(true);
  };
  const press = () => {
    if (made) setOpen(!open);
    else if (overlays()) show();
    else fetchOverlays().then(show, () => {}); // the next press tries again
  };
  const button = (
    <button
      ref={target}
      type="button"
      className={framed ? "icon-button framed" : "icon-button"}
      aria-label={label}
      aria-haspopup="menu"
      aria-expanded={open}
      onClick={press}
    >
      {icon}
    </button>
  );
  const Menu = made && overlays()?.Menu;
  if (!Menu) return button;
  return (
    <Menu opened={open} onChange={setOpen} position="bottom-end" withinPortal>
      <Menu.Target>{button}</Menu.Target>
      <Menu.Dropdown>{children(Menu)}</Menu.Dropdown>
    </Menu>
  );
}
