import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { whoamiKey } from "../../domain/session";

const tokensKey = ["settings", "tokens"];

/** The personal tokens of this person, the newest first. */
export function useTokens(person: string) {
  return useQuery<Schemas["KeyView"][], ApiError>({
    queryKey: [...tokensKey, person],
    queryFn: async () => {
      const keys = await must(api.GET("/api/v2/keys", { params: { query: { owner: person, sort: "-created" } } }));
      return keys.filter((k) => k.kind === "personal");
    },
  });
}

export function useVersion() {
  return useQuery<Schemas["ServerVersion"], ApiError>({
    queryKey: ["settings", "version"],
    queryFn: () => must(api.GET("/api/v2/version")),
  });
}

export function useCluster() {
  return useQuery<Schemas["ClusterView"], ApiError>({ queryKey: ["settings", "cluster"], queryFn: () => must(api.GET("/api/v2/cluster")) });
}

export async function saveProfile(body: Schemas["UpdateProfile"]) {
  await must(api.PUT("/api/v2/profile", { body }));
  await queries.invalidateQueries({ queryKey: whoamiKey });
}

export const changePassword = (current_password: string, new_password: string) =>
  must(api.PUT("/api/v2/password", { body: { current_password, new_password } }));

export async function makeToken(name: string, days: number | ""): Promise<Schemas["PersonalToken"]> {
  const made = await must(api.POST("/api/v2/auth/token", { body: { name, days: days === "" ? undefined : days } }));
  queries.invalidateQueries({ queryKey: tokensKey });
  return made;
}

export async function revokeToken(id: string) {
  await must(api.DELETE("/api/v2/keys/{id}", { params: { path: { id } } }));
  queries.invalidateQueries({ queryKey: tokensKey });
}
