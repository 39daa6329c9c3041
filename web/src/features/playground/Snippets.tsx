import { Anchor, Group, Modal, SegmentedControl, Stack, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useState } from "react";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import { Copy } from "../../ui/bits";
import { type Call, type Language, snippet } from "./snippets";

const languages: { value: Language; label: string }[] = [
  { value: "curl", label: "curl" },
  { value: "python", label: "Python" },
  { value: "javascript", label: "JavaScript" },
];

/** Shows how a program sends what was just put together here. The key is a variable: none is ever shown. */
export function Snippets({ call, onClose }: { call: Call; onClose: () => void }) {
  const { t } = useTranslation("playground");
  const { t: common } = useTranslation();
  const [language, setLanguage] = useState<Language>("curl");
  const viewer = useMay("viewer");
  const text = snippet(language, location.origin, call);
  return (
    <Modal opened onClose={onClose} title={t("code.title")} size="xl" closeButtonProps={{ "aria-label": common("close") }}>
      <Stack>
        <Group justify="space-between">
          <SegmentedControl
            aria-label={t("code.language")}
            data={languages}
            value={language}
            onChange={(v) => setLanguage(v as Language)}
          />
          <Copy text={text} label={t("copyCode")} />
        </Group>
        <div className="talk-code">
          <pre tabIndex={0}>{text}</pre>
        </div>
        <Text size="sm" c="dimmed">
          {t("code.key")}{" "}
          {viewer && (
            <Anchor component={Link} to="/access" size="sm" underline="always">
              {t("code.make")}
            </Anchor>
          )}
        </Text>
      </Stack>
    </Modal>
  );
}
