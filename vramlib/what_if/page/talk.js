// Questions to the kernel: what a reader does goes one at a time and at once, moves that wait are one move; the slower
// figures are asked for one by one after a pause, and what comes for a state that is gone is dropped.
const PATIENCE = 150; // from the last move to the slower figures [ms]
const SILENCE = 60_000; // then the kernel is said not to answer [ms]

const conversation = (model, { answered, piece, made, silent }) => {
  const waiting = [];
  let stale = [];
  let open = null; // what the kernel is asked
  let slow = null; // the figure that it computes beside
  let number = 0;
  let timer = null;
  let quiet = null;
  let ended = false;

  const send = (content, buffers) => {
    number += 1;
    model.send({ ...content, id: number }, undefined, buffers);
    return number;
  };
  const next = () => {
    if (ended) return;
    if (!open && waiting.length) {
      open = waiting.shift();
      open.id = send(open.content, open.buffers);
      quiet = setTimeout(() => { open = null; silent(); next(); }, SILENCE);
    }
    if (!open && !slow && !timer && stale.length) {
      const name = stale.shift();
      slow = { name, id: send({ do: "piece", name }), fresh: true };
    }
  };
  const outdated = (names) => {
    stale = [...names];
    if (slow) slow.fresh = false;
    clearTimeout(timer);
    timer = setTimeout(() => { timer = null; next(); }, PATIENCE);
  };
  const heard = (reply, buffers) => {
    if (reply.made) {
      made(reply, buffers);
    } else if (slow && reply.id === slow.id) {
      const { name, fresh } = slow;
      slow = null;
      if (fresh) piece(name, reply);
      next();
    } else if (open && reply.id === open.id) {
      clearTimeout(quiet);
      const { resolve } = open;
      open = null;
      answered(reply);
      resolve?.(reply);
      next();
    }
  };
  model.on("msg:custom", heard);

  return {
    outdated,
    ask: (content, buffers = []) => new Promise((resolve) => {
      waiting.push({ content, buffers, resolve });
      next();
    }),
    move: (fields) => {
      const last = waiting.at(-1);
      if (last?.content.do === "move") Object.assign(last.content.fields, fields);
      else waiting.push({ content: { do: "move", fields }, buffers: [] });
      if (slow) slow.fresh = false;
      next();
    },
    want: (name) => { if (!stale.includes(name)) stale.push(name); next(); },
    moving: () => open?.content.do === "move" || waiting.some((question) => question.content.do === "move"),
    end: () => { ended = true; model.off("msg:custom", heard); clearTimeout(timer); clearTimeout(quiet); },
  };
};
