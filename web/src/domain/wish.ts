import { useMutation } from "@tanstack/react-query";
import { useEffect } from "react";

type Wish = {
  /** What is, as the server tells it. */
  is: boolean;
  work: (to: boolean) => Promise<unknown>;
  onDone: (to: boolean) => void;
  onFailed: (error: unknown, to: boolean) => void;
};

/**
 * A switch that shows at once what was asked for: until the server tells the same, or refuses it. Only for what can be asked back and breaks nothing.
 */
export function useWish({ is, work, onDone, onFailed }: Wish): { shown: boolean; busy: boolean; flip: () => void } {
  const m = useMutation<unknown, unknown, boolean>({ mutationFn: work, onSuccess: (_, to) => onDone(to), onError: onFailed });
  const { isSuccess, variables, reset } = m;
  useEffect(() => {
    if (isSuccess && variables === is) reset(); // from here on it is the server's word again
  }, [isSuccess, variables, is, reset]);
  const shown = (m.isPending || isSuccess) && variables !== undefined ? variables : is;
  return { shown, busy: m.isPending, flip: () => !m.isPending && m.mutate(!shown) };
}
