import { notifyManager, QueryClient } from "@tanstack/react-query";
import { ApiError } from "./client";

// An answer is shown with the next frame, and not after a timer as well.
notifyManager.setScheduler(queueMicrotask);

/** What was asked of the server. A failure that asking again cannot mend is not repeated. */
export const queries = new QueryClient({
  defaultOptions: {
    queries: {
      staleTime: 5000,
      refetchOnWindowFocus: false,
      retry: (count, e) => count < 1 && !(e instanceof ApiError && e.status >= 400 && e.status < 500),
    },
  },
});
