import "./layout.css";
import { useDisclosure, useHotkeys } from "@mantine/hooks";
import { IconMenu2, IconSearch, IconX } from "@tabler/icons-react";
import { useRouter, useRouterState } from "@tanstack/react-router";
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { atLeast, type Whoami } from "../domain/session";
import { press } from "../lib/press";
import { IconButton } from "../ui/bits";
import { Alerts } from "./alerts";
import { type Entry, navigation } from "./nav";
import { Tools } from "./tools";

const Palette = lazy(() => import("./palette"));

/** The frame of every page: navigation, tools, and the main part, to which focus goes when the page changes. */
export function Layout({ who, children }: { who: Whoami; children: ReactNode }) {
  const { t } = useTranslation();
  const [open, { toggle, close }] = useDisclosure();
  const path = useRouterState({ select: (s) => s.location.pathname });
  const main = useRef<HTMLElement>(null);
  const before = useRef(path);
  // It is fetched when it is first asked for, and then stays.
  const [palette, setPalette] = useState(false);
  const goTo = () => {
    setPalette(true);
    import("./palette").then((p) => p.open());
  };
  useHotkeys([["mod+K", goTo]], []);
  useEffect(() => {
    if (before.current === path) return;
    before.current = path;
    close();
    main.current?.focus({ preventScroll: true });
  }, [path, close]);
  return (
    <div className="frame">
      <a className="skip" href="#main">
        {t("skip")}
      </a>
      <header>
        <span className="frame-burger">
          <IconButton framed label={t("nav.toggle")} expanded={open} onClick={toggle}>
            {open ? <IconX size={18} /> : <IconMenu2 size={18} />}
          </IconButton>
        </span>
        <NavLink to="/" label="Nebula" className="frame-home" onPress={close}>
          <img src="/favicon.svg" width={26} height={26} alt="" />
          <span>Nebula</span>
        </NavLink>
        <IconButton framed label={`${t("palette.open")} (Ctrl K)`} onClick={goTo}>
          <IconSearch size={18} />
        </IconButton>
        <Tools who={who} />
      </header>
      <nav aria-label={t("nav.label")} data-open={open}>
        {navigation.map((g) => {
          const entries = g.entries.filter((e) => atLeast(who.role, e.role));
          return (
            entries.length > 0 && (
              <div key={g.text}>
                <div className="nav-head">{t(`nav.${g.text}`)}</div>
                {entries.map((e) => {
                  const here = e.to === "/" ? path === "/" : path === e.to || path.startsWith(`${e.to}/`);
                  return (
                    <NavLink key={e.to} to={e.to} className="nav-link" here={here} onPress={close}>
                      <e.icon size={18} stroke={1.7} aria-hidden="true" />
                      {t(`nav.${e.text}`)}
                    </NavLink>
                  );
                })}
              </div>
            )
          );
        })}
      </nav>
      <main id="main" ref={main} tabIndex={-1}>
        {atLeast(who.role, "viewer") && <Alerts />}
        {children}
      </main>
      {palette && (
        <Suspense>
          <Palette role={who.role} />
        </Suspense>
      )}
    </div>
  );
}

type NavLinkProps = { to: Entry["to"]; label?: string; className: string; here?: boolean; onPress: () => void; children: ReactNode };

/** A way to a page, whose files are fetched when the pointer comes near. The router's own link would work out the address anew each time that it changes. */
function NavLink({ to, label, className, here, onPress, children }: NavLinkProps) {
  const router = useRouter();
  const go = () => {
    onPress();
    router.navigate({ to });
  };
  return (
    <a
      href={to}
      className={className}
      aria-label={label}
      aria-current={here ? "page" : undefined}
      onClick={(e) => press(e, go)}
      onPointerEnter={() => !here && void router.preloadRoute({ to })}
    >
      {children}
    </a>
  );
}
