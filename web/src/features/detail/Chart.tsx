// In a chunk of its own: charts are large.
import "@mantine/charts/styles.css";
import { LineChart } from "@mantine/charts";
import { useTranslation } from "react-i18next";
import type { Point } from "./logic";

export type Series = { name: Exclude<keyof Point, "at">; label: string; color: string };

type Props = {
  points: Point[];
  series: Series[];
  format: (value: number) => string;
  /** The top of the axis; none: the largest value. */
  most?: number;
};

/** Figures over the last minutes. What is not known is a gap. Screen readers have the table beside it. */
export default function Chart({ points, series, format, most }: Props) {
  const { i18n } = useTranslation();
  return (
    <div aria-hidden="true">
      <LineChart
        h={200}
        data={points.map((p) => ({ ...p, time: new Date(p.at).toLocaleTimeString(i18n.language) }))}
        dataKey="time"
        withDots={false}
        curveType="linear"
        connectNulls={false}
        withLegend={series.length > 1}
        gridAxis="y"
        valueFormatter={format}
        xAxisProps={{ minTickGap: 60 }}
        yAxisProps={{ domain: [0, most ?? "auto"], allowDecimals: most !== undefined, width: 52 }}
        lineChartProps={{ accessibilityLayer: false }}
        lineProps={{ isAnimationActive: false }}
        series={series}
      />
    </div>
  );
}
