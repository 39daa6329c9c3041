import { SimpleGrid, Text } from "@mantine/core";
import { lazy, type ReactNode, Suspense } from "react";
import { useTranslation } from "react-i18next";
import { number, percent } from "../../lib/format";
import { Section } from "../../ui/bits";
import type { Series } from "./Chart";
import type { Point } from "./logic";

const Chart = lazy(() => import("./Chart"));

type Shown = { title: string; series: Series[]; format: (v: number) => string; most?: number };

/** What the engines said over the last minutes. Of what no engine says there is no chart. */
export function Charts({ points }: { points: Point[] }) {
  const { t, i18n } = useTranslation("detail");
  const l = i18n.language;
  const told = (s: Series) => points.some((p) => p[s.name] !== null);
  const whole = (v: number) => number(v, l);
  const rates: Series[] = [
    { name: "made", label: t("figure.made"), color: "nebula.5" },
    { name: "read", label: t("figure.read"), color: "teal.6" },
  ];
  const more: Shown[] = [
    {
      title: t("figure.requests"),
      series: [
        { name: "running", label: t("figure.running"), color: "nebula.5" },
        { name: "waiting", label: t("figure.waiting"), color: "orange.6" },
      ],
      format: whole,
    },
    {
      title: t("figure.kvChart"),
      series: [{ name: "kv", label: t("figure.kv"), color: "nebula.5" }],
      format: (v) => percent(v, l),
      most: 1,
    },
  ];
  const shown = more.map((c) => ({ ...c, series: c.series.filter(told) })).filter((c) => c.series.length > 0);
  return (
    <>
      <Section title={t("figure.chart")}>
        {rates.some(told) ? (
          <Later>
            <Chart points={points} series={rates} format={(v) => number(v, l, 1)} />
          </Later>
        ) : (
          <Text size="sm" c="dimmed">
            {t("figure.noChart")}
          </Text>
        )}
        <span className="sr">{t("figure.inTable")}</span>
      </Section>
      {shown.length > 0 && (
        <SimpleGrid cols={{ base: 1, md: shown.length }}>
          {shown.map((c) => (
            <Section key={c.title} title={c.title}>
              <Later>
                <Chart points={points} series={c.series} format={c.format} most={c.most} />
              </Later>
              <span className="sr">{t("figure.inTable")}</span>
            </Section>
          ))}
        </SimpleGrid>
      )}
    </>
  );
}

function Later({ children }: { children: ReactNode }) {
  return <Suspense fallback={<div style={{ height: 200 }} />}>{children}</Suspense>;
}
