// Figures for people.

const NONE = "—";

export function milliseconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1000) return `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  return seconds(value / 1000);
}

export function seconds(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 120) return `${value.toFixed(value < 10 ? 2 : 1)} s`;
  return `${Math.floor(value / 60)} min ${Math.round(value % 60)} s`;
}

export function bytes(value) {
  if (value === null || value === undefined) return NONE;
  if (value < 1000) return `${value} B`;
  if (value < 1e6) return `${(value / 1e3).toFixed(1)} kB`;
  return `${(value / 1e6).toFixed(1)} MB`;
}

export function count(value) {
  return value === null || value === undefined ? NONE : value.toLocaleString("en");
}

export function clock(at) {
  return new Date(at).toLocaleTimeString("en-GB");
}

/** Tokens per second of a job: after its first chunk if it streamed, else over its whole time. */
export function tokensPerSecond(job) {
  if (!job.out || !job.ended || job.taken === null) return null;
  const streamed = job.first !== null && job.ended - job.first > 50 && job.posts > 2;
  const began = streamed ? job.first : job.taken;
  return (job.out / Math.max(job.ended - began, 1)) * 1000;
}

export function rate(value) {
  return value === null || value === undefined ? NONE : value.toFixed(value < 10 ? 1 : 0);
}

export const STATES = {
  IN_QUEUE: "In queue",
  IN_PROGRESS: "Running",
  COMPLETED: "Completed",
  FAILED: "Failed",
  CANCELLED: "Cancelled",
  TIMED_OUT: "Timed out",
};

export const FINAL = new Set(["COMPLETED", "FAILED", "CANCELLED", "TIMED_OUT"]);
