import { Alert, Anchor, Button, Stack, Text } from "@mantine/core";
import { IconArrowDown } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useLayoutEffect, useRef, useState } from "react";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import type { Lane, Turn } from "./lane";
import { ModelPick } from "./ModelPick";
import type { Answering } from "./queries";
import { TurnView } from "./TurnView";

type Props = {
  lane: Lane;
  turns: readonly Turn[];
  models: Answering[];
  model: string | undefined;
  label: string;
  onModel: (model: string) => void;
  onAgain: () => void;
  onEdit: () => void;
};

/** How far from the end, in pixels, somebody still follows what comes. */
const near = 48;

/** One conversation: what was said, and at its head with whom. It follows the answer until the reader scrolls up. */
export function LanePane({ lane, turns, models, model, label, onModel, onAgain, onEdit }: Props) {
  const { t } = useTranslation("playground");
  const viewer = useMay("viewer");
  const box = useRef<HTMLElement>(null);
  const [follows, setFollows] = useState(true);
  const gone = model !== undefined && !models.some((m) => m.id === model);
  const last = turns.at(-1);
  // biome-ignore lint/correctness/useExhaustiveDependencies: whatever was added, the end has moved
  useLayoutEffect(() => {
    if (follows && box.current) box.current.scrollTop = box.current.scrollHeight;
  }, [turns, follows]);
  function scrolled() {
    const b = box.current;
    if (b) setFollows(b.scrollHeight - b.scrollTop - b.clientHeight < near);
  }
  return (
    <div className="talk-lane">
      <div className="talk-head">
        <ModelPick models={models} value={model} label={label} onChange={onModel} hidden />
      </div>
      <section
        className="talk-scroll"
        ref={box}
        onScroll={scrolled}
        tabIndex={0}
        aria-label={t("talkWith", { model: model ?? "" })}
        aria-busy={lane.busy}
      >
        <Stack className="talk-column" gap="lg">
          {gone && (
            <Alert color="orange" variant="light" title={t("gone.title", { model })}>
              {t("gone.text")}{" "}
              {viewer && (
                <Anchor component={Link} to="/models/$uid" params={{ uid: model } as never} size="sm" underline="always">
                  {t("gone.look")}
                </Anchor>
              )}
            </Alert>
          )}
          {turns.length === 0 && !gone && (
            <Text c="dimmed" ta="center" py="xl">
              {t("begin")}
            </Text>
          )}
          {turns.map((turn) => (
            <TurnView key={turn.id} turn={turn} last={turn === last} onAgain={onAgain} onEdit={onEdit} />
          ))}
        </Stack>
      </section>
      {!follows && (
        <Button
          size="compact-sm"
          variant="default"
          leftSection={<IconArrowDown size={14} />}
          onClick={() => setFollows(true)}
          style={{ position: "absolute", bottom: 10, left: "50%", transform: "translateX(-50%)" }}
        >
          {t("toEnd")}
        </Button>
      )}
      <div className="sr" aria-live="polite">
        {last && last.state === "done" ? last.answer.slice(0, 2000) : ""}
      </div>
    </div>
  );
}
