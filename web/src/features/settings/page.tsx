import { SimpleGrid, Stack } from "@mantine/core";
import { useTranslation } from "react-i18next";
import { useMay, useWhoami } from "../../domain/session";
import { PageHead } from "../../ui/bits";
import { About } from "./About";
import { Password } from "./Password";
import { Preferences } from "./Preferences";
import { Profile } from "./Profile";
import { Tokens } from "./Tokens";

/** What a person says of themselves and has chosen, and what this Nebula is. */
export function SettingsPage() {
  const { t } = useTranslation("settings");
  const who = useWhoami().data;
  const viewer = useMay("viewer");
  return (
    <>
      <PageHead title={t("title")} />
      <SimpleGrid cols={{ base: 1, lg: 2 }} spacing="md">
        <Stack>
          {viewer && who?.user && <Profile key={who.id} user={who.user} role={who.role} />}
          {viewer && who?.user && !who.user.external && <Password name={who.id} />}
        </Stack>
        <Stack>
          <Preferences />
          {viewer && who?.user && <Tokens person={who.id} />}
          <About viewer={viewer} />
        </Stack>
      </SimpleGrid>
    </>
  );
}
