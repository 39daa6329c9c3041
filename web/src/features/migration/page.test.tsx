import { screen, within } from "@testing-library/react";
import userEvent from "@testing-library/user-event";
import { expect, test } from "vitest";
import { renderPage } from "../../test/render";
import { TestServer } from "../../test/server";
import { MigrationPage } from "./page";

test("tells what would be done, and does it only after it was confirmed", async () => {
  const hostile = "<img src=x onerror=alert(1)>\u202E";
  const server = new TestServer().on("get", "/api/v2/v1-usage", []).on("post", "/api/v2/migrate", {
    total: 2,
    migrated: 1,
    skipped: 0,
    failed: 1,
    details: [
      { model_uid: "qwen", request_id: "r1", action: "migrated", desired_state: "running" },
      { model_uid: "", request_id: "r2", action: "failed", reason: hostile },
    ],
  });
  await renderPage(MigrationPage, { path: "/migration" });
  await screen.findByText("to migrate", {}, { timeout: 30_000 });
  expect(document.querySelector("img[src=x]")).toBeNull();
  expect(server.seen.filter((s) => s.method === "POST").every((s) => s.query.get("dry_run") === "true")).toBe(true);
  await userEvent.click(screen.getByRole("button", { name: "Migrate" }));
  const dialog = await screen.findByRole("dialog", {}, { timeout: 30_000 });
  await userEvent.click(within(dialog).getByRole("button", { name: "Migrate" }));
  await screen.findByRole("region", { name: "What was done" }, { timeout: 30_000 });
  expect(server.seen.some((s) => s.method === "POST" && s.query.get("dry_run") === null)).toBe(true);
}, 120_000);
