import { Text } from "@mantine/core";
import { IconLogout, IconSettings, IconUser } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { api } from "../api/client";
import { forgetSources } from "../api/live";
import { queries } from "../api/queries";
import { type Whoami, whoamiKey } from "../domain/session";
import { Name } from "../ui/bits";
import { failed } from "../ui/notify";
import { PopMenu } from "../ui/PopMenu";
import { LanguageMenu, SchemeMenu } from "../ui/preferences";

/** Language, scheme, and the one who is logged in. */
export function Tools({ who }: { who: Whoami }) {
  return (
    <>
      <LanguageMenu />
      <SchemeMenu />
      <PersonMenu who={who} />
    </>
  );
}

function PersonMenu({ who }: { who: Whoami }) {
  const { t } = useTranslation();
  async function logOut() {
    try {
      await api.POST("/api/v2/auth/logout");
      queries.clear();
      forgetSources();
      queries.invalidateQueries({ queryKey: whoamiKey });
      location.assign("/login");
    } catch (e) {
      failed(t("tools.logoutFailed"), e, t);
    }
  }
  return (
    <PopMenu framed label={t("tools.person")} icon={<IconUser size={18} />}>
      {({ Item, Label }) => (
        <>
          <Label>
            <Text size="sm">
              <Name text={who.user?.display_name || who.id} most={40} />
            </Text>
            <Text size="xs">{t(`role.${who.role}`)}</Text>
          </Label>
          <Item leftSection={<IconSettings size={16} />} renderRoot={(props) => <Link to="/settings" {...props} />}>
            {t("nav.settings")}
          </Item>
          <Item leftSection={<IconLogout size={16} />} onClick={logOut}>
            {t("tools.logout")}
          </Item>
        </>
      )}
    </PopMenu>
  );
}
