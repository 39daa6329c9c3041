import { AppShell, Burger, Group, Text } from "@mantine/core";
import { useDisclosure, useHotkeys } from "@mantine/hooks";
import { IconSearch } from "@tabler/icons-react";
import { Link, useRouterState } from "@tanstack/react-router";
import { lazy, type ReactNode, Suspense, useEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { atLeast, type Whoami } from "../domain/session";
import { IconButton } from "../ui/bits";
import { Alerts } from "./alerts";
import { navigation } from "./nav";
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
    <AppShell header={{ height: 52 }} navbar={{ width: 220, breakpoint: "sm", collapsed: { mobile: !open } }} padding="md">
      <a className="skip" href="#main">
        {t("skip")}
      </a>
      <AppShell.Header>
        <Group h="100%" px="md" justify="space-between" wrap="nowrap">
          <Group gap="xs" wrap="nowrap">
            <Burger opened={open} onClick={toggle} hiddenFrom="sm" size="sm" aria-label={t("nav.toggle")} />
            <Link to="/" style={{ textDecoration: "none", color: "inherit" }} aria-label="Nebula">
              <Group gap={8} wrap="nowrap">
                <img src="/favicon.svg" width={26} height={26} alt="" />
                <Text fw={700} fz="lg" visibleFrom="xs">
                  Nebula
                </Text>
              </Group>
            </Link>
          </Group>
          <Group gap="xs" wrap="nowrap">
            <IconButton framed label={`${t("palette.open")} (Ctrl K)`} onClick={goTo}>
              <IconSearch size={18} />
            </IconButton>
            <Tools who={who} />
          </Group>
        </Group>
      </AppShell.Header>
      <AppShell.Navbar aria-label={t("nav.label")}>
        <div className="nav">
          {navigation.map((g) => {
            const entries = g.entries.filter((e) => atLeast(who.role, e.role));
            return (
              entries.length > 0 && (
                <div key={g.text}>
                  <div className="nav-head">{t(`nav.${g.text}`)}</div>
                  {entries.map((e) => {
                    const here = e.to === "/" ? path === "/" : path === e.to || path.startsWith(`${e.to}/`);
                    return (
                      <Link key={e.to} to={e.to} className="nav-link" aria-current={here ? "page" : undefined} onClick={close}>
                        <e.icon size={18} stroke={1.7} aria-hidden="true" />
                        {t(`nav.${e.text}`)}
                      </Link>
                    );
                  })}
                </div>
              )
            );
          })}
        </div>
      </AppShell.Navbar>
      <AppShell.Main id="main" ref={main} tabIndex={-1} style={{ outline: "none" }}>
        {atLeast(who.role, "viewer") && <Alerts />}
        {children}
      </AppShell.Main>
      {palette && (
        <Suspense>
          <Palette role={who.role} />
        </Suspense>
      )}
    </AppShell>
  );
}
