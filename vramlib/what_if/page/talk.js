// Questions to the kernel, one at a time: what a reader does comes first, moves that wait are one move, and the
// slower figures are asked for one by one, when nothing else waits.
const PATIENCE = 150; // from the last move to the slower figures [ms]
const SILENCE = 60_000; // then the kernel is said not to answer [ms]

const conversation = (model, { answered, piece, made, silent }) => {
  const waiting = [];
  let stale = [];
  let open = null; // the question that the kernel has
  let number = 0;
  let timer = null;
  let quiet = null;

  const send = (question) => {
    open = question;
    number += 1;
    question.id = number;
    quiet = setTimeout(() => { open = null; silent(); next(); }, SILENCE);
    model.send({ ...question.content, id: number }, undefined, question.buffers);
  };
  const next = () => {
    if (open) return;
    if (waiting.length) { send(waiting.shift()); return; }
    if (stale.length && !timer) send({ content: { do: "piece", name: stale.shift() } });
  };
  const outdated = (names) => {
    stale = [...names];
    clearTimeout(timer);
    timer = setTimeout(() => { timer = null; next(); }, PATIENCE);
  };
  const heard = (reply, buffers) => {
    if (reply.made) { made(reply, buffers); return; }
    if (!open || reply.id !== open.id) return;
    clearTimeout(quiet);
    const question = open;
    open = null;
    if (question.content.do === "piece") piece(question.content.name, reply);
    else answered(reply);
    question.resolve?.(reply);
    next();
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
      clearTimeout(timer);
      timer = null;
      next();
    },
    want: (name) => { if (!stale.includes(name)) stale.push(name); next(); },
    moving: () => open?.content.do === "move" || waiting.some((question) => question.content.do === "move"),
    end: () => { model.off("msg:custom", heard); clearTimeout(timer); clearTimeout(quiet); },
  };
};
