"use strict";
(() => {
  const at = (id) => document.getElementById(id);
  const fresh = "Start the server again for a new one (a link is good for 15 minutes), or make a user on its machine: nebula user create NAME --role admin";
  // The token is behind the #: browsers send that to no server, and tell it to no page that is visited next.
  const token = location.hash.slice(1);

  const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + ".";
  const show = (id, text) => {
    if (text !== undefined) at(id).textContent = text;
    at(id).hidden = false;
  };
  const lose = (text) => {
    at("form").hidden = true;
    show("lost", text);
  };
  const complain = (text, field) => {
    show("error", text);
    for (const id of ["name", "password", "again"]) at(id).removeAttribute("aria-invalid");
    if (field) {
      at(field).setAttribute("aria-invalid", "true");
      at(field).focus();
    }
  };
  // forget takes a token that is of no more use out of the address, and so out of the browser's history.
  const forget = () => history.replaceState(null, "", location.pathname);

  const finish = (name) => {
    forget();
    at("form").hidden = at("lead").hidden = true;
    at("form").reset();
    show("who", name);
    show("command", "nebula login " + location.origin + " --username " + name);
    show("done");
    at("done").focus();
  };

  const send = async () => {
    let answer;
    let body = {};
    try {
      answer = await fetch("/api/v2/setup", {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ token, username: at("name").value.trim(), password: at("password").value }),
      });
      body = await answer.json();
    } catch {
      if (!answer) return complain("The server does not answer. Is it running? Then try once more.");
    }
    if (answer.ok) return finish(body.id);
    const error = body.error || {};
    const text = sentence(error.message || "the server answered " + answer.status);
    if (answer.status === 401) {
      forget();
      return lose("This setup link is not valid, or not any more. " + fresh);
    }
    if (answer.status === 410) {
      forget();
      return lose("This cluster is set up already: its first administrator was made. Log in with: nebula login " + location.origin);
    }
    const field = { name: "name", username: "name", password: "password" }[error.details?.[0]?.field];
    complain(text + (answer.status >= 500 ? " (request " + error.request_id + ")" : ""), field);
  };

  at("form").addEventListener("submit", async (event) => {
    event.preventDefault();
    if (at("password").value !== at("again").value) return complain("The two passwords differ: write the same one twice.", "again");
    at("error").hidden = true;
    at("send").disabled = true;
    await send();
    at("send").disabled = false;
  });

  if (token === "") {
    lose("This address lacks its token, the part behind #. Copy the whole link that the server printed. " + fresh);
  } else {
    show("form");
    at("name").focus();
  }
})();
