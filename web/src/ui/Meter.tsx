import { Tooltip } from "@mantine/core";

/** A bar that shows how much of something is used, with marks at ratios that matter. `text` says the same in words. */
export function Meter({
  ratio,
  marks = [],
  label,
  text,
  height = 10,
}: {
  ratio: number;
  marks?: number[];
  label: string;
  text: string;
  height?: number;
}) {
  const used = Math.min(1, Math.max(0, ratio));
  const passed = marks.filter((m) => used >= m).length;
  const color = passed >= 2 ? "red" : passed === 1 ? "orange" : "teal";
  return (
    <Tooltip label={`${label}: ${text}`}>
      <div
        role="meter"
        aria-label={label}
        aria-valuemin={0}
        aria-valuemax={100}
        aria-valuenow={Math.round(used * 100)}
        aria-valuetext={text}
        style={{
          position: "relative",
          height,
          borderRadius: height / 2,
          background: "var(--mantine-color-default-border)",
          overflow: "hidden",
          minWidth: 60,
        }}
      >
        <div style={{ width: `${used * 100}%`, height: "100%", background: `var(--mantine-color-${color}-filled)` }} />
        {marks.map((m) => (
          <span
            key={m}
            aria-hidden="true"
            style={{
              position: "absolute",
              left: `${m * 100}%`,
              top: 0,
              bottom: 0,
              width: 1,
              background: "var(--mantine-color-text)",
              opacity: 0.55,
            }}
          />
        ))}
      </div>
    </Tooltip>
  );
}
