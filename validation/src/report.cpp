#include <jko/validation/report.hpp>

#include <jko/io/atomic_file.hpp>
#include <jko/validation/figure.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <ctime>

#include <unistd.h>

namespace jko::validation {
namespace {

using Json = nlohmann::ordered_json;

/// JSON has no NaN: null.
Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
std::string shown(double value) { return std::isfinite(value) ? fmt::format("{:.6g}", value) : "–"; }
const char* name(Scale scale) { return scale == Scale::quick ? "quick" : "full"; }

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

Json to_json(const StudyResult& r, const StudyOptions& options) {
  Json checks = Json::array(), tables = Json::array(), figures = Json::array();
  for (const analysis::Check& c : r.checks) {
    checks.push_back({{"id", c.id},
                      {"claim", c.claim},
                      {"source", c.source},
                      {"verdict", analysis::name(c.verdict)},
                      {"statistic", number(c.statistic)},
                      {"bound", number(c.bound)},
                      {"tolerance", number(c.tolerance)},
                      {"tolerance_reason", c.tolerance_reason},
                      {"reason", c.reason}});
  }
  for (const Table& t : r.tables) tables.push_back({{"id", t.id}, {"caption", t.caption}, {"columns", t.columns}, {"rows", t.rows}});
  for (const Figure& f : r.figures) figures.push_back({{"id", f.id}, {"caption", f.caption}, {"file", "figures/" + f.id + ".svg"}});
  return {{"study", r.study},   {"title", r.title},   {"scale", name(options.scale)}, {"seed", options.seed},
          {"checks", checks},   {"tables", tables},   {"figures", figures},           {"notes", r.notes},
          {"seconds", r.seconds}};
}

constexpr const char* style = R"(
:root{color-scheme:light dark;--bg:#fff;--fg:#1c1c1c;--soft:#666;--line:#ddd;--pass:#00724f;--fail:#b03a00;--open:#8a6100}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){--bg:#17191c;--fg:#e6e6e6;--soft:#a3a3a3;--line:#3a3d42;--pass:#4ecb9f;--fail:#ff8a4c;--open:#e6b84d}}
:root[data-theme=dark]{--bg:#17191c;--fg:#e6e6e6;--soft:#a3a3a3;--line:#3a3d42;--pass:#4ecb9f;--fail:#ff8a4c;--open:#e6b84d}
body{background:var(--bg);color:var(--fg);font:16px/1.55 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
h1{font-size:1.7rem}h2{margin-top:3rem;border-top:1px solid var(--line);padding-top:1.2rem}
table{border-collapse:collapse;width:100%;font-size:.88rem;margin:1rem 0}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{cursor:pointer}td.n{text-align:right;font-variant-numeric:tabular-nums}.wide{overflow-x:auto}
.pass{color:var(--pass);font-weight:600}.fail{color:var(--fail);font-weight:600}.inconclusive{color:var(--open);font-weight:600}
figure{margin:1.5rem 0}figure svg{width:100%;height:auto;background:#fff;border-radius:4px}figcaption,.soft{color:var(--soft);font-size:.9rem}
button{font:inherit;font-size:.8rem;background:none;color:var(--soft);border:1px solid var(--line);border-radius:4px;cursor:pointer}
@media print{button{display:none}h2{break-before:page}figure,table{break-inside:avoid}})";

constexpr const char* script = R"(
document.querySelectorAll('th').forEach(th=>th.onclick=()=>{const t=th.closest('table'),i=[...th.parentNode.children].indexOf(th),b=t.tBodies[0],
s=th.dataset.s=th.dataset.s==='1'?'-1':'1';[...b.rows].sort((x,y)=>{const a=x.cells[i].textContent,c=y.cells[i].textContent,d=parseFloat(a)-parseFloat(c);
return s*(isNaN(d)?a.localeCompare(c):d)}).forEach(r=>b.append(r))});
document.querySelectorAll('button.csv').forEach(e=>e.onclick=()=>{const q=s=>'"'+s.replaceAll('"','""')+'"',t=document.getElementById(e.dataset.for),
c=[...t.rows].map(r=>[...r.cells].map(x=>q(x.textContent)).join(',')).join('\n'),a=document.createElement('a');
a.href=URL.createObjectURL(new Blob([c],{type:'text/csv'}));a.download=e.dataset.for+'.csv';a.click()});
document.getElementById('theme').onclick=()=>{const r=document.documentElement;r.dataset.theme=getComputedStyle(r).getPropertyValue('--bg').trim()==='#fff'?'dark':'light'};)";

std::string html_table(const std::string& id, const std::vector<std::string>& columns, const std::vector<std::vector<std::string>>& rows) {
  std::string out = fmt::format("<div class=wide><table id=\"{}\"><thead><tr>", escaped(id));
  for (const auto& c : columns) out += "<th>" + escaped(c) + "</th>";
  out += "</tr></thead><tbody>";
  for (const auto& row : rows) {
    out += "<tr>";
    for (const auto& cell : row) {
      const bool numeric = !cell.empty() && cell.find_first_not_of("0123456789.+-e") == std::string::npos;
      out += fmt::format("<td{}>{}</td>", numeric ? " class=n" : "", escaped(cell));
    }
    out += "</tr>";
  }
  return out + fmt::format("</tbody></table></div><button class=csv data-for=\"{}\">download CSV</button>\n", escaped(id));
}

std::string svg_inline(const std::filesystem::path& file) {
  std::string svg = read_file(file);
  return svg.substr(svg.find("<svg"));  // without the XML prologue
}

}  // namespace

int exit_status(const std::vector<StudyResult>& results) {
  int status = 0;
  for (const StudyResult& r : results) {
    for (const analysis::Check& c : r.checks) {
      if (c.verdict == analysis::Verdict::fail) return 1;
      if (c.verdict == analysis::Verdict::inconclusive) status = 3;
    }
  }
  return status;
}

std::string study_json(const StudyResult& result, const StudyOptions& options) { return to_json(result, options).dump(1) + "\n"; }

void write_study(const StudyResult& result, const StudyOptions& options, const std::filesystem::path& directory) {
  for (const Figure& f : result.figures) render(f, directory / "figures");
  write_atomically(directory / "study.json", study_json(result, options));
}

void write_report(const std::vector<StudyResult>& results, const StudyOptions& options, const std::string& command,
                  const std::filesystem::path& directory) {
  char host[256] = "unknown";
  ::gethostname(host, sizeof host - 1);
  const std::time_t now = std::time(nullptr);
  char date[32];
  std::strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", std::gmtime(&now));
  Json json{{"program", "jko"}, {"version", JKO_VERSION}, {"scale", name(options.scale)}, {"seed", options.seed},
            {"threads", options.threads}, {"host", host}, {"date", date}, {"command", command}, {"studies", Json::array()}};
  int counts[3] = {0, 0, 0};
  std::vector<std::vector<std::string>> verdicts;
  std::string body;
  for (const StudyResult& r : results) {
    json["studies"].push_back(to_json(r, options));
    body += fmt::format("<h2 id=\"{}\">{}</h2>\n<p>{}</p>\n", r.study, escaped(r.title), escaped(r.description));
    for (const auto& note : r.notes) body += "<p class=soft>Note: " + escaped(note) + "</p>\n";
    for (const Figure& f : r.figures) {
      render(f, directory / "figures");
      body += fmt::format("<figure>{}<figcaption>{}</figcaption></figure>\n", svg_inline(directory / "figures" / (f.id + ".svg")),
                          escaped(f.caption));
    }
    for (const Table& t : r.tables) body += "<p>" + escaped(t.caption) + "</p>" + html_table(r.study + "-" + t.id, t.columns, t.rows);
    if (!r.checks.empty()) body += "<h3>Checks</h3>\n";
    for (const analysis::Check& c : r.checks) {
      ++counts[static_cast<int>(c.verdict)];
      verdicts.push_back({r.study, c.id, c.claim, std::string(analysis::name(c.verdict)), shown(c.statistic), shown(c.bound), shown(c.tolerance)});
      body += fmt::format(
          "<p><span class={0}>{0}</span> <b>{1}</b> — {2} <span class=soft>[{3}]</span><br>computed {4}, compared with {5}, tolerance {6}"
          "<br><span class=soft>{7}</span></p>\n",
          analysis::name(c.verdict), escaped(c.id), escaped(c.claim), escaped(c.source), shown(c.statistic), shown(c.bound),
          shown(c.tolerance), escaped(c.reason.empty() ? c.tolerance_reason : c.reason));
    }
    body += fmt::format("<p class=soft>{:.1f} s</p>\n", r.seconds);
  }
  json["summary"] = {{"pass", counts[0]}, {"fail", counts[1]}, {"inconclusive", counts[2]}};
  std::string table = html_table("verdicts", {"study", "check", "claim", "verdict", "computed", "compared with", "tolerance"}, verdicts);
  for (const char* verdict : {"pass", "fail", "inconclusive"}) {  // colour the verdict column
    const std::string plain = fmt::format("<td>{}</td>", verdict), coloured = fmt::format("<td class={0}>{0}</td>", verdict);
    for (std::size_t at = 0; (at = table.find(plain, at)) != std::string::npos; at += coloured.size()) table.replace(at, plain.size(), coloured);
  }
  const std::string html = fmt::format(
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">"
      "<title>jko validation report</title><style>{}</style>\n<h1>jko validation report</h1>\n"
      "<p>{} passed, {} failed, {} inconclusive. <span class=soft>jko {}, scale {}, seed {}, {} threads, host {}, {}; <code>{}</code></span> "
      "<button id=theme>light/dark</button></p>\n{}\n{}<script>{}</script></html>\n",
      style, counts[0], counts[1], counts[2], JKO_VERSION, name(options.scale), options.seed, options.threads, escaped(host), date,
      escaped(command), table, body, script);
  write_atomically(directory / "report.json", json.dump(1) + "\n");
  write_atomically(directory / "index.html", html);
}

}  // namespace jko::validation
