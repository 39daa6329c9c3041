import { Alert, Button, Group, Modal, Stack, Text } from "@mantine/core";
import { IconCheck, IconCopy } from "@tabler/icons-react";
import { type ReactNode, useState } from "react";
import { useTranslation } from "react-i18next";
import { copyText } from "../lib/clipboard";

/** Shows a value that nobody will see again. Neither a slip of the mouse nor Escape closes it. */
export function SecretOnce({
  title,
  value,
  children,
  onClose,
}: {
  title: string;
  value: string;
  children?: ReactNode;
  onClose: () => void;
}) {
  const { t } = useTranslation();
  const [copied, setCopied] = useState<boolean | null>(null);
  return (
    <Modal opened onClose={onClose} title={title} size="lg" closeOnClickOutside={false} closeOnEscape={false} withCloseButton={false}>
      <Stack>
        <Alert color="orange" variant="light">
          {t("once.warning")}
        </Alert>
        <Text className="mono" data-testid="secret" style={{ overflowWrap: "anywhere", userSelect: "all" }}>
          {value}
        </Text>
        {children}
        <Group justify="flex-end">
          <Button
            variant="light"
            leftSection={copied ? <IconCheck size={16} /> : <IconCopy size={16} />}
            onClick={() => {
              copyText(value).then(setCopied);
            }}
            data-autofocus
          >
            {copied ? t("copied") : t("once.copy")}
          </Button>
          <Button onClick={onClose}>{t("once.done")}</Button>
        </Group>
        {copied === false && (
          <Text size="sm" c="dimmed">
            {t("once.byHand")}
          </Text>
        )}
      </Stack>
    </Modal>
  );
}
