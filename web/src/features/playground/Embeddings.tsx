import { Button, Code, Group, Paper, SimpleGrid, Stack, Text, Textarea } from "@mantine/core";
import { useDisclosure } from "@mantine/hooks";
import { IconCode, IconVector } from "@tabler/icons-react";
import { useMutation } from "@tanstack/react-query";
import { useNavigate, useSearch } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import type { ApiError } from "../../api/client";
import { number } from "../../lib/format";
import { Copy, Tile, Unknown } from "../../ui/bits";
import { ErrorNote } from "../../ui/faces";
import { ModelPick } from "./ModelPick";
import { type Answering, embed, lookAgain } from "./queries";
import { Snippets } from "./Snippets";
import { cosine } from "./vectors";

type Result = { vectors: number[][]; tokens?: number; ms: number };

async function vectorsOf({ model, texts }: { model: string; texts: string[] }): Promise<Result> {
  const sent = performance.now();
  const answer = await embed(model, texts);
  const ms = performance.now() - sent;
  const vectors = [...answer.data].sort((a, b) => (a.index ?? 0) - (b.index ?? 0)).map((d) => d.embedding);
  return { vectors, tokens: answer.usage?.prompt_tokens, ms };
}

/** Turns one or two texts into vectors, and tells how alike those are. */
export function Embeddings({ models }: { models: Answering[] }) {
  const { t } = useTranslation("playground");
  const search = useSearch({ from: "/shell/playground" });
  const navigate = useNavigate();
  const [texts, setTexts] = useState(["", ""]);
  const [code, showCode] = useDisclosure();
  const model = search.model ?? models[0]?.id;
  const input = texts.filter((x) => x.trim() !== "");
  const run = useMutation<Result, ApiError, { model: string; texts: string[] }>({ mutationFn: vectorsOf, onError: lookAgain });
  return (
    <Stack>
      <Paper className="card" p="md">
        <Stack>
          <ModelPick
            models={models}
            value={model}
            label={t("pick.model")}
            onChange={(m) => navigate({ to: "/playground", search: { ...search, model: m } })}
          />
          <SimpleGrid cols={{ base: 1, sm: 2 }}>
            {texts.map((text, i) => (
              <Textarea
                key={i === 0 ? "first" : "second"}
                label={t(i === 0 ? "vectors.first" : "vectors.second")}
                value={text}
                onChange={(e) => setTexts(texts.map((x, j) => (j === i ? e.currentTarget.value : x)))}
                autosize
                minRows={3}
                maxRows={8}
                dir="auto"
              />
            ))}
          </SimpleGrid>
          <Group>
            <Button
              leftSection={<IconVector size={16} />}
              loading={run.isPending}
              disabled={!model || input.length === 0}
              onClick={() => model && run.mutate({ model, texts: input })}
            >
              {t("vectors.run")}
            </Button>
            <Button variant="subtle" color="gray" leftSection={<IconCode size={15} />} disabled={!model} onClick={showCode.open}>
              {t("code.open")}
            </Button>
          </Group>
        </Stack>
      </Paper>
      <div aria-live="polite">
        {run.error && <ErrorNote error={run.error} title={t("vectors.failed")} />}
        {run.data && !run.error && <Outcome result={run.data} />}
      </div>
      {code && model && (
        <Snippets
          call={{ path: "/v1/embeddings", body: { model, input: input.length ? input : [t("code.example")] } }}
          onClose={showCode.close}
        />
      )}
    </Stack>
  );
}

function Outcome({ result }: { result: Result }) {
  const { t, i18n } = useTranslation("playground");
  const { vectors, tokens, ms } = result;
  const alike = vectors.length === 2 ? cosine(vectors[0]!, vectors[1]!) : undefined;
  return (
    <Stack>
      <SimpleGrid cols={{ base: 2, md: 4 }}>
        <Tile label={t("vectors.length")}>{vectors[0] ? number(vectors[0].length, i18n.language) : <Unknown />}</Tile>
        <Tile label={t("vectors.alike")} hint={t("vectors.alikeHow")}>
          {alike === undefined ? <Unknown /> : number(alike, i18n.language, 4)}
        </Tile>
        <Tile label={t("figures.prompt")} hint={t("figures.promptHow")}>
          {tokens === undefined ? <Unknown /> : number(tokens, i18n.language)}
        </Tile>
        <Tile label={t("vectors.time")} hint={t("vectors.timeHow")}>
          {number(ms, i18n.language)} ms
        </Tile>
      </SimpleGrid>
      {vectors.map((v, i) => (
        // biome-ignore lint/suspicious/noArrayIndexKey: the order is what tells them apart
        <Paper className="card" p="md" key={i}>
          <Group justify="space-between" mb={6}>
            <Text size="sm" fw={600}>
              {t(i === 0 ? "vectors.first" : "vectors.second")}
            </Text>
            <Copy text={JSON.stringify(v)} label={t("vectors.copy")} />
          </Group>
          <Code block>
            {v
              .slice(0, 8)
              .map((x) => x.toFixed(6))
              .join("  ")}
            {v.length > 8 ? "  …" : ""}
          </Code>
        </Paper>
      ))}
    </Stack>
  );
}
