import { Button } from "@mantine/core";
import { IconMessage } from "@tabler/icons-react";
import { Link } from "@tanstack/react-router";
import { useTranslation } from "react-i18next";
import { useMay } from "../../domain/session";
import { Empty } from "../../ui/faces";

/** Nothing answers: says why that may be, and where to go. */
export function NoModels({ model }: { model?: string }) {
  const { t } = useTranslation("playground");
  const operator = useMay("operator");
  const viewer = useMay("viewer");
  return (
    <Empty
      icon={<IconMessage size={44} stroke={1.3} />}
      title={t("none.title")}
      action={
        viewer && (
          <Button component={Link} to={operator ? "/new" : "/models"}>
            {operator ? t("none.make") : t("none.models")}
          </Button>
        )
      }
    >
      {viewer ? t("none.text", { model }) : t("none.inference")}
    </Empty>
  );
}
