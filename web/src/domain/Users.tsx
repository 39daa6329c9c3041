import { Anchor, Group, Text } from "@mantine/core";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { Name } from "../ui/bits";

/** The models that use something, each a way to it; of many only the first. */
export function Users({ uids, most = 3 }: { uids: string[]; most?: number }) {
  const { t } = useTranslation("cache");
  if (uids.length === 0)
    return (
      <Text size="sm" c="dimmed">
        {t("nobody")}
      </Text>
    );
  return (
    <Group gap={6}>
      {uids.slice(0, most).map((uid) => (
        <Anchor key={uid} component={Link} to={`/models/${encodeURIComponent(uid)}`} size="sm">
          <Name text={uid} most={32} />
        </Anchor>
      ))}
      {uids.length > most && (
        <Text size="xs" c="dimmed" component="span">
          {t("more", { count: uids.length - most })}
        </Text>
      )}
    </Group>
  );
}
