// What a page remembers of a view over a reload: in the tab's own storage, by the name of the view's model.

const PAGE = "bmq-page";
const UNSAVED_MS = 300;

/** What a log looks like: each part is there once its user has chosen it. */
export interface Look {
  /** The query of this page; and the count of the changes in the kernel after which it was made. */
  query?: string;
  generation?: number;
  /** The number of the first message that a pause holds back. */
  pausedAt?: number | null;
  newestFirst?: boolean;
  /** In pixels. */
  height?: number;
  treeWidth?: number;
  /** Of columns by name; 0 for the usual one. */
  columns?: Record<string, number>;
  /** Whether the column of latencies is shown. */
  latency?: boolean;
  detailWidth?: number;
  /** Whether the identifiers are to be seen. */
  tree?: boolean;
  sort?: string;
  /** Of names: whether their actions are shown. */
  unfolded?: Record<string, boolean>;
  chart?: ChartLook;
  /** How times are shown. */
  time?: string;
  /** The query of the alert, and how many messages its user has been notified of. */
  alertsSeen?: [query: string, count: number];
  notify?: boolean;
  sound?: boolean;
  /** The number of the message that is shown in full. */
  detail?: number | null;
}

/** The settings of a chart that the user has chosen. */
export interface ChartLook {
  axis?: string;
  /** The range that is shown, in seconds; "" for all. */
  last?: string;
  log?: boolean;
  smoothing?: number;
  /** Lines that are turned off. */
  hidden?: string[];
  /** In pixels. */
  height?: number;
}

/** The name of this page: the same after a reload, another one in another tab. */
export function pageName(): string {
  const name = read(PAGE) ?? `${Date.now().toString(36)}-${Math.random().toString(36).slice(2)}`;
  write(PAGE, name);
  return name;
}

export type Memory = ReturnType<typeof createMemory>;

/**
 * @param name of the view
 * @param onChange called some time after something has changed
 */
export function createMemory(name: string, onChange: (look: Look) => void) {
  const key = `bmq-look-${name}`;
  const stored = read(key);
  let look: Look = {};
  try {
    look = stored === null ? {} : JSON.parse(stored);
  } catch {
    // Something else wrote there.
  }
  let timer: ReturnType<typeof setTimeout> | undefined;
  return {
    /** Whether there is nothing that this page has chosen. */
    isNew: stored === null,
    get look(): Readonly<Look> {
      return look;
    },
    set(part: Look) {
      const entries = Object.entries(part) as [keyof Look, unknown][];
      if (entries.every(([name, value]) => look[name] === value)) return;
      look = { ...look, ...part };
      this.isNew = false;
      write(key, JSON.stringify(look));
      clearTimeout(timer);
      timer = setTimeout(() => onChange(look), UNSAVED_MS);
    },
    close: () => clearTimeout(timer),
  };
}

/** Where a page may not store anything, it forgets. */
function read(key: string): string | null {
  try {
    return sessionStorage.getItem(key);
  } catch {
    return null;
  }
}

function write(key: string, value: string) {
  try {
    sessionStorage.setItem(key, value);
  } catch {
    // Full, or not allowed.
  }
}
