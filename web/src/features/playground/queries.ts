import { useQuery } from "@tanstack/react-query";
import { type ApiError, api, must, send } from "../../api/client";
import { queries } from "../../api/queries";
import { pollEvery } from "../../api/stream";

export type Answering = { id: string; root?: string };

const key = ["playground", "models"];

/** The models that answer requests now, looked at every eight seconds while the page can be seen. */
export function useAnswering() {
  return useQuery<Answering[], ApiError>({
    queryKey: key,
    queryFn: async () => ((await must(api.GET("/v1/models"))).data ?? []) as Answering[],
    refetchInterval: pollEvery,
  });
}

/** Looks again which models answer: one that has just failed may be gone. */
export function lookAgain() {
  queries.invalidateQueries({ queryKey: key });
}

export type Vectors = { data: { index?: number; embedding: number[] }[]; usage?: { prompt_tokens?: number } };

export function embed(model: string, input: string[]): Promise<Vectors> {
  return send<Vectors>("POST", "/v1/embeddings", { model, input });
}
