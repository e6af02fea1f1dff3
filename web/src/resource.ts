import { useEffect, useState } from "preact/hooks";
import { get, Problem } from "./api";
import { reconnects } from "./live";

export interface Resource<T> {
  data: T | null;
  error: string | null;
  at: number;
}

// A document that the stream does not carry: asked for now, every so often while the tab is looked at, and when `key` changes.
export function useResource<T>(path: string | null, everyMs: number, key: unknown = null): Resource<T> {
  const [state, setState] = useState<Resource<T>>({ data: null, error: null, at: 0 });
  const again = reconnects.value;
  useEffect(() => {
    if (!path) return;
    let over = false;
    let timer: ReturnType<typeof setTimeout>;
    const turn = async () => {
      if (document.visibilityState === "visible") {
        try {
          const data = await get<T>(path);
          if (!over) setState({ data, error: null, at: performance.now() });
        } catch (e) {
          const text = e instanceof Problem ? e.message : String(e);
          if (!over) setState((s) => ({ ...s, error: text }));
        }
      }
      if (!over) timer = setTimeout(turn, everyMs);
    };
    void turn();
    return () => {
      over = true;
      clearTimeout(timer);
    };
  }, [path, everyMs, key, again]);
  return state;
}
