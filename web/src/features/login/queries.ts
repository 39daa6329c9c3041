import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { queries } from "../../api/queries";
import { whoamiKey } from "../../domain/session";

/** Whether the first user is still to be made, and how people may log in. */
export function useSetupStatus() {
  return useQuery<Schemas["SetupStatus"], ApiError>({ queryKey: ["setup"], queryFn: () => must(api.GET("/api/v2/setup")), staleTime: 0 });
}

export async function logIn(username: string, password: string) {
  queries.setQueryData(whoamiKey, await must(api.POST("/api/v2/auth/login", { body: { username, password } })));
}

export async function setUp(token: string, username: string, password: string) {
  queries.setQueryData(whoamiKey, await must(api.POST("/api/v2/setup", { body: { token, username, password } })));
}
