// The conversations of the playground: they outlast a look at another page, and end with the person who had them or when the page is loaded anew.
import { useSyncExternalStore } from "react";
import { noSettings, type Settings } from "./chat";
import { Lane, type Turn } from "./lane";
import { lookAgain } from "./queries";

class Conversation {
  readonly lanes: readonly [Lane, Lane] = [new Lane(lookAgain), new Lane(lookAgain)];
  private settings: Settings = noSettings;
  private readonly listeners = new Set<() => void>();

  getSettings = () => this.settings;
  subscribe = (l: () => void) => {
    this.listeners.add(l);
    return () => this.listeners.delete(l);
  };
  set = (change: Partial<Settings>) => {
    this.settings = { ...this.settings, ...change };
    for (const l of this.listeners) l();
  };
  end() {
    for (const lane of this.lanes) lane.clear();
  }
}

let owner = "";
let current = new Conversation();

/** The conversation of this person. Another one never sees it. */
export function conversationOf(person: string): Conversation {
  if (owner !== person) {
    current.end();
    current = new Conversation();
    owner = person;
  }
  return current;
}

export function useSettings(c: Conversation): Settings {
  return useSyncExternalStore(c.subscribe, c.getSettings);
}

export function useTurns(lane: Lane): readonly Turn[] {
  return useSyncExternalStore(lane.subscribe, lane.get);
}
