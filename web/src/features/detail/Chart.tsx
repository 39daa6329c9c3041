// In a chunk of its own: charts are large.
import "@mantine/charts/styles.css";
import { LineChart } from "@mantine/charts";
import { useTranslation } from "react-i18next";
import { number } from "../../lib/format";
import type { Point } from "./logic";

/** Tokens per second over the last minutes. What is not known is a gap. */
export default function Chart({ points }: { points: Point[] }) {
  const { t, i18n } = useTranslation("detail");
  const l = i18n.language;
  return (
    <div aria-hidden="true">
      <LineChart
        h={220}
        data={points.map((p) => ({ ...p, time: new Date(p.at).toLocaleTimeString(l) }))}
        dataKey="time"
        withDots={false}
        curveType="linear"
        connectNulls={false}
        withLegend
        gridAxis="y"
        valueFormatter={(v) => number(v, l, 1)}
        xAxisProps={{ minTickGap: 60 }}
        lineChartProps={{ accessibilityLayer: false }}
        lineProps={{ isAnimationActive: false }}
        series={[
          { name: "made", label: t("figure.made"), color: "nebula.5" },
          { name: "read", label: t("figure.read"), color: "teal.6" },
        ]}
      />
    </div>
  );
}
