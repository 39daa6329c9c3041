import { Button, Stack, Text } from "@mantine/core";
import { IconArrowsExchange, IconCircleCheck } from "@tabler/icons-react";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { PageHead, Section } from "../../ui/bits";
import { Confirm } from "../../ui/Confirm";
import { Empty, Faces } from "../../ui/faces";
import { done } from "../../ui/notify";
import { OldCalls } from "./OldCalls";
import { type Migration, migrate, usePlan } from "./queries";
import { Report } from "./Report";

/** What version 1 has left, what would become of it, and who still calls it. */
export function MigrationPage() {
  const { t } = useTranslation("migration");
  const plan = usePlan();
  const [asks, ask] = useState(false);
  const [report, setReport] = useState<Migration | null>(null);
  const some = (plan.data?.migrated ?? 0) > 0;
  return (
    <>
      <PageHead
        title={t("title")}
        lead={t("lead")}
        actions={
          some && (
            <Button leftSection={<IconArrowsExchange size={16} />} onClick={() => ask(true)}>
              {t("run")}
            </Button>
          )
        }
      />
      <Stack>
        {report && (
          <Section title={t("report")}>
            <Report of={report} happened />
          </Section>
        )}
        <Section title={t("plan")}>
          <Faces
            of={plan}
            isEmpty={(p) => p.total === 0}
            empty={
              <Empty icon={<IconCircleCheck size={40} stroke={1.3} />} title={t("none")}>
                {t("noneText")}
              </Empty>
            }
          >
            {(p) => <Report of={p} />}
          </Faces>
        </Section>
        <OldCalls />
      </Stack>
      {asks && (
        <Confirm
          title={t("confirm", { count: plan.data?.migrated ?? 0 })}
          action={t("run")}
          onConfirm={async () => {
            const r = await migrate();
            setReport(r);
            done(t("done", { count: r.migrated }));
          }}
          onClose={() => ask(false)}
        >
          <Text size="sm">{t("confirmText")}</Text>
        </Confirm>
      )}
    </>
  );
}
