import { Button, Group, Paper, Select, Switch, Text, TextInput } from "@mantine/core";
import { IconPlayerPause, IconPlayerPlay, IconRefresh, IconSearch } from "@tabler/icons-react";
import { useNavigate } from "@tanstack/react-router";
import { memo, useDeferredValue, useEffect, useMemo, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import type { ModelDetail } from "../../api/models";
import { Copy } from "../../ui/bits";
import { ErrorNote } from "../../ui/faces";
import { plain, replicasOf } from "./logic";
import type { DetailSearch } from "./search";
import { useLog } from "./useLog";

const chunk = 200;

/** The log of an engine as it is written. */
export function Logs({ model: m, search }: { model: ModelDetail; search: DetailSearch }) {
  const { t } = useTranslation("detail");
  const navigate = useNavigate({ from: "/models/$uid" });
  const replica = search.replica ?? 0;
  const previous = search.previous ?? false;
  const log = useLog(m.model_uid, replica, previous);
  const [filter, setFilter] = useState("");
  const [wrap, setWrap] = useState(true);
  const [follow, setFollow] = useState(true);
  const wanted = useDeferredValue(filter.trim().toLowerCase());
  const shown = useMemo(() => {
    const all = log.lines.map(plain);
    if (all.at(-1) === "") all.pop();
    return wanted ? all.filter((l) => l.toLowerCase().includes(wanted)) : all;
  }, [log.lines, wanted]);
  const ids = [...new Set([...replicasOf(m).map((r) => r.id), replica])].sort((a, b) => a - b);
  const change = (c: DetailSearch) => navigate({ search: (s: DetailSearch) => ({ ...s, ...c }), replace: true });
  return (
    <Paper className="card" p="sm">
      <Group gap="sm" mb="xs">
        <Select
          size="xs"
          w={130}
          aria-label={t("log.replica")}
          data={ids.map((i) => ({ value: String(i), label: t("download.replica", { id: i }) }))}
          value={String(replica)}
          allowDeselect={false}
          onChange={(v) => change({ replica: Number(v) || undefined })}
        />
        <TextInput
          size="xs"
          type="search"
          style={{ flex: "1 1 160px" }}
          leftSection={<IconSearch size={14} aria-hidden="true" />}
          aria-label={t("log.search")}
          placeholder={t("log.search")}
          value={filter}
          onChange={(e) => setFilter(e.currentTarget.value)}
        />
        <Switch
          size="xs"
          label={t("log.previous")}
          checked={previous}
          onChange={(e) => change({ previous: e.currentTarget.checked || undefined })}
        />
        <Switch size="xs" label={t("log.wrap")} checked={wrap} onChange={(e) => setWrap(e.currentTarget.checked)} />
        <Button
          size="xs"
          variant="default"
          leftSection={follow ? <IconPlayerPause size={14} /> : <IconPlayerPlay size={14} />}
          onClick={() => setFollow(!follow)}
        >
          {t(follow ? "log.pause" : "log.resume")}
        </Button>
        <Copy text={shown.join("\n")} label={t("log.copy")} />
      </Group>
      {log.error !== null && <ErrorNote error={log.error} retry={log.again} title={t("log.failed")} />}
      <Lines lines={shown} wrap={wrap} follow={follow} onScrolledUp={() => setFollow(false)} />
      <Group gap="xs" mt="xs" role="status">
        <Text size="xs" c="dimmed">
          {t(shown.length === 0 && log.state !== "opening" ? (wanted ? "log.noMatch" : "log.empty") : `log.${log.state}`)}
          {shown.length > 0 && ` · ${t("log.lines", { count: shown.length })}`}
        </Text>
        {log.state === "ended" && !previous && (
          <Button size="compact-xs" variant="subtle" leftSection={<IconRefresh size={12} />} onClick={log.again}>
            {t("log.again")}
          </Button>
        )}
      </Group>
    </Paper>
  );
}

function Lines(p: { lines: string[]; wrap: boolean; follow: boolean; onScrolledUp: () => void }) {
  const { t } = useTranslation("detail");
  const box = useRef<HTMLDivElement>(null);
  const last = useRef(0);
  // biome-ignore lint/correctness/useExhaustiveDependencies: new lines are what makes it scroll
  useEffect(() => {
    if (p.follow && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [p.lines, p.follow, p.wrap]);
  const chunks: string[] = [];
  for (let i = 0; i < p.lines.length; i += chunk) chunks.push(p.lines.slice(i, i + chunk).join("\n"));
  return (
    <div
      ref={box}
      tabIndex={0}
      role="log"
      aria-live="off"
      aria-label={t("tab.logs")}
      style={{ height: "max(260px, calc(100dvh - 400px))", overflow: "auto", background: "var(--nebula-ground)", borderRadius: 6 }}
      onScroll={(e) => {
        const top = e.currentTarget.scrollTop;
        if (top < last.current - 4 && p.follow) p.onScrolledUp();
        last.current = top;
      }}
    >
      {chunks.map((text, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: chunks have no other name
        <Chunk key={i} text={text} wrap={p.wrap} />
      ))}
    </div>
  );
}

const Chunk = memo(function Chunk({ text, wrap }: { text: string; wrap: boolean }) {
  return (
    <pre className="log" dir="ltr" style={{ whiteSpace: wrap ? "pre-wrap" : "pre", padding: "0 12px" }}>
      {text}
    </pre>
  );
});
