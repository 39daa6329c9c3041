// The look of everything: one theme, with contrasts that meet WCAG AA in both schemes.
import { type CSSVariablesResolver, createTheme, type MantineColorsTuple } from "@mantine/core";

const nebula: MantineColorsTuple = [
  "#f3f0ff",
  "#e5dbff",
  "#d0bfff",
  "#b197fc",
  "#9775fa",
  "#845ef7",
  "#7048e8",
  "#6038d6",
  "#512cbd",
  "#43239f",
];

export const theme = createTheme({
  primaryColor: "nebula",
  colors: { nebula },
  primaryShade: { light: 7, dark: 6 },
  autoContrast: true,
  luminanceThreshold: 0.34,
  defaultRadius: "md",
  fontFamily: 'Inter, "Segoe UI", system-ui, -apple-system, "PingFang SC", "Microsoft YaHei", "WenQuanYi Micro Hei", sans-serif',
  fontFamilyMonospace: 'ui-monospace, "JetBrains Mono", Menlo, Consolas, monospace',
  headings: { fontWeight: "650" },
  cursorType: "pointer",
  focusRing: "auto",
  respectReducedMotion: true,
  components: {
    Tooltip: {
      defaultProps: { withArrow: true, openDelay: 200, multiline: true, maw: 360, events: { hover: true, focus: true, touch: true } },
    },
    // The head of a dialog is none of the page: without the role it would be a second banner to screen readers.
    Modal: {
      defaultProps: {
        overlayProps: { backgroundOpacity: 0.5 },
        radius: "md",
        closeButtonProps: { "aria-label": "×" },
        attributes: { header: { role: "none" } },
      },
    },
    Drawer: { defaultProps: { attributes: { header: { role: "none" } } } },
    Badge: { defaultProps: { variant: "light", radius: "sm", tt: "none", fw: 600 } },
    Anchor: { defaultProps: { underline: "hover" } },
  },
});

export const resolver: CSSVariablesResolver = () => ({
  variables: {},
  light: {
    "--mantine-color-dimmed": "#4f5965",
    "--mantine-color-placeholder": "#636d78",
    "--mantine-color-body": "#ffffff",
    "--mantine-color-error": "#c92a2a",
    "--nebula-ground": "#f6f7f9",
    "--nebula-line": "#e1e5ea",
    "--mantine-color-anchor": "#512cbd",
    "--mantine-color-teal-light-color": "#08654d",
    "--mantine-color-orange-light-color": "#95410a",
    "--mantine-color-yellow-light-color": "#7a4f00",
    "--mantine-color-blue-light-color": "#1558a5",
    "--mantine-color-gray-light-color": "#495057",
    "--mantine-color-red-light-color": "#b02525",
    "--mantine-color-indigo-light-color": "#3548b8",
    "--mantine-color-grape-light-color": "#862e9c",
  },
  dark: {
    "--mantine-color-dimmed": "#aab1bb",
    "--mantine-color-placeholder": "#9aa2ad",
    "--mantine-color-body": "#191b20",
    "--mantine-color-error": "#ff8787",
    "--nebula-ground": "#121418",
    "--nebula-line": "#30343b",
    "--mantine-color-anchor": "#b197fc",
  },
});
