// All that the pages about access ask of the server. After a change the lists that it shows in are asked for again.
import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, type Schemas } from "../../api/client";
import { usePages } from "../../api/pages";
import { queries } from "../../api/queries";
import type { Key, Session, User } from "./logic";

export const useUsers = (path: string) => usePages<User>(path, (u) => u.name);
export const useKeys = (path: string) => usePages<Key>(path, (k) => k.id);
export const useSessions = (path: string) => usePages<Session>(path, (s) => s.id);

/** Asks for the lists again in which something has changed. */
function look<T>(list: "users" | "keys" | "sessions", done: T): T {
  queries.invalidateQueries({ predicate: (q) => q.queryKey[0] === "pages" && String(q.queryKey[1]).startsWith(`/api/v2/${list}?`) });
  return done;
}

export const createUser = async (body: Schemas["CreateUser"]) => look("users", await must(api.POST("/api/v2/users", { body })));
export const updateUser = async (name: string, body: Schemas["UpdateUser"]) =>
  look("users", await must(api.PUT("/api/v2/users/{name}", { params: { path: { name } }, body })));
export const setPassword = async (name: string, password: string) =>
  look("sessions", await must(api.PUT("/api/v2/users/{name}/password", { params: { path: { name } }, body: { password } })));
export const deleteUser = async (name: string) =>
  look("users", await must(api.DELETE("/api/v2/users/{name}", { params: { path: { name } } })));

export const createKey = async (body: Schemas["CreateKey"]) => look("keys", await must(api.POST("/api/v2/keys", { body })));
export const updateKey = async (id: string, body: Schemas["UpdateKey"], etag?: string) =>
  look("keys", await must(api.PUT("/api/v2/keys/{id}", { params: { path: { id }, header: etag ? { "If-Match": etag } : {} }, body })));
export const rotateKey = async (id: string, overlap_hours: number) =>
  look("keys", await must(api.POST("/api/v2/keys/{id}/rotate", { params: { path: { id } }, body: { overlap_hours } })));
export const deleteKey = async (id: string) => look("keys", await must(api.DELETE("/api/v2/keys/{id}", { params: { path: { id } } })));

/** One key with the ETag of what was read, to be changed from. */
export function useKey(id: string) {
  return useQuery<{ key: Key; etag: string }, ApiError>({
    queryKey: ["access", "key", id],
    queryFn: async () => {
      const { data, response } = await api.GET("/api/v2/keys/{id}", { params: { path: { id } } });
      return { key: data as Key, etag: response.headers.get("ETag") ?? "" };
    },
    staleTime: 0,
    gcTime: 0,
  });
}

export const endSession = async (id: string) =>
  look("sessions", await must(api.DELETE("/api/v2/sessions/{id}", { params: { path: { id } } })));

export const putSecret = (name: string, value: string) =>
  must(api.PUT("/api/v2/secrets/{name}", { params: { path: { name } }, body: { value } }));
export const deleteSecret = (name: string, force: boolean) =>
  must(api.DELETE("/api/v2/secrets/{name}", { params: { path: { name }, query: force ? { force } : {} } }));
