import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../../api/client";

const at = (id: string) => ({ params: { path: { id } } });

export const cordon = (id: string) => must(api.POST("/api/v2/nodes/{id}/cordon", at(id)));
export const uncordon = (id: string) => must(api.POST("/api/v2/nodes/{id}/uncordon", at(id)));
export const drain = (id: string) => must(api.POST("/api/v2/nodes/{id}/drain", at(id)));
export const remove = (id: string) => must(api.DELETE("/api/v2/nodes/{id}", at(id)));

/** Makes a token with which one machine can join, as a node. */
export function makeToken(name: string, seconds: number): Promise<Schemas["JoinTokenCreated"]> {
  return must(api.POST("/api/v2/tokens", { body: { for: "node", name: name || undefined, ttl_seconds: seconds } }));
}

export const revokeToken = (token: string) => must(api.DELETE("/api/v2/tokens/{token}", { params: { path: { token } } }));

/** The cluster, for the address at which machines join. */
export function useCluster(wanted: boolean) {
  return useQuery<Schemas["ClusterView"], ApiError>({
    queryKey: ["cluster"],
    queryFn: () => must(api.GET("/api/v2/cluster")),
    enabled: wanted,
  });
}
