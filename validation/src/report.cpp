#include <jko/validation/report.hpp>

#include <jko/io/atomic_file.hpp>
#include <jko/validation/figure.hpp>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include <cmath>
#include <ctime>
#include <string_view>
#include <thread>

#include <sys/utsname.h>
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
                      {"false_alarm", number(c.false_alarm)},
                      {"p_value", number(c.p_value)},
                      {"effect", number(c.effect)},
                      {"tolerance_reason", c.tolerance_reason},
                      {"reason", c.reason}});
  }
  for (const Table& t : r.tables) tables.push_back({{"id", t.id}, {"caption", t.caption}, {"columns", t.columns}, {"rows", t.rows}});
  for (const Figure& f : r.figures) figures.push_back({{"id", f.id}, {"caption", f.caption}, {"file", "figures/" + f.id + ".svg"}});
  return {{"study", r.study},   {"title", r.title},   {"scale", name(options.scale)}, {"seed", options.seed},
          {"checks", checks},   {"tables", tables},   {"figures", figures},           {"notes", r.notes},
          {"false_alarm", number(false_alarm({r}))},
          {"seconds", r.seconds}};
}

constexpr const char* style = R"(
:root{color-scheme:light dark;--bg:#fff;--fg:#1c1c1c;--soft:#5c5c5c;--line:#d9d9d9;--pass:#00724f;--fail:#b03a00;--open:#8a6100;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b97f00;--c5:#2f8fc4;--c6:#444;--c7:#808080}
@media (prefers-color-scheme:dark){:root:not([data-theme=light]){--bg:#17191c;--fg:#e6e6e6;--soft:#a8a8a8;--line:#3a3d42;--pass:#4ecb9f;--fail:#ff8a4c;--open:#e6b84d;
--c0:#56a8e0;--c1:#ff8a3d;--c2:#3ecf9f;--c3:#e3a1c6;--c4:#f0b429;--c5:#8accf2;--c6:#c8c8c8;--c7:#9a9a9a}}
:root[data-theme=dark]{color-scheme:dark;--bg:#17191c;--fg:#e6e6e6;--soft:#a8a8a8;--line:#3a3d42;--pass:#4ecb9f;--fail:#ff8a4c;--open:#e6b84d;
--c0:#56a8e0;--c1:#ff8a3d;--c2:#3ecf9f;--c3:#e3a1c6;--c4:#f0b429;--c5:#8accf2;--c6:#c8c8c8;--c7:#9a9a9a}
:root[data-theme=light]{color-scheme:light}
body{background:var(--bg);color:var(--fg);font:16px/1.55 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}
a{color:inherit}h1{font-size:1.7rem;margin-bottom:.3rem}h2{margin-top:3rem;border-top:1px solid var(--line);padding-top:1.2rem}h3{margin:1.6rem 0 .4rem}
table{border-collapse:collapse;width:100%;font-size:.86rem;margin:.6rem 0}th,td{text-align:left;padding:.3rem .6rem;border-bottom:1px solid var(--line);vertical-align:top}
th{cursor:pointer;white-space:nowrap}th[data-s="1"]::after{content:" \2191"}th[data-s="-1"]::after{content:" \2193"}
td.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}.wide{overflow-x:auto}
.pass{color:var(--pass);font-weight:600}.fail{color:var(--fail);font-weight:600}.inconclusive{color:var(--open);font-weight:600}
.check{margin:.9rem 0;padding-left:.8rem;border-left:3px solid var(--line)}.check p{margin:.1rem 0}.check:target{border-color:var(--fg)}
figure{margin:1.5rem 0}figure svg{width:100%;height:auto;max-height:34rem}figcaption,.soft{color:var(--soft);font-size:.9rem}
code{font-size:.85em;overflow-wrap:anywhere}
button{font:inherit;font-size:.8rem;background:none;color:var(--soft);border:1px solid var(--line);border-radius:4px;cursor:pointer}
@media print{:root,:root[data-theme=dark]{--bg:#fff;--fg:#000;--soft:#444;--line:#bbb;--pass:#00724f;--fail:#b03a00;--open:#8a6100;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#cc79a7;--c4:#b97f00;--c5:#2f8fc4;--c6:#444;--c7:#808080}
body{max-width:none;margin:0;font-size:10.5pt}button{display:none}a{text-decoration:none}h2{break-after:avoid;margin-top:2rem}h3{break-after:avoid}figure,.check,tr{break-inside:avoid}thead{display:table-header-group}
.wide{overflow:visible}table{font-size:8pt}td,th{padding:.15rem .3rem}td{overflow-wrap:anywhere}figure svg{max-height:9cm}}
@page{margin:16mm})";

constexpr const char* script = R"(
document.querySelectorAll('th').forEach(th=>th.onclick=()=>{const t=th.closest('table'),i=[...th.parentNode.children].indexOf(th),b=t.tBodies[0],
s=th.dataset.s==='1'?-1:1;t.querySelectorAll('th').forEach(x=>delete x.dataset.s);th.dataset.s=s;[...b.rows].sort((x,y)=>{const a=x.cells[i].textContent,c=y.cells[i].textContent,d=parseFloat(a)-parseFloat(c);
return s*(isNaN(d)?a.localeCompare(c):d)}).forEach(r=>b.append(r))});
document.querySelectorAll('button.csv').forEach(e=>e.onclick=()=>{const q=s=>'"'+s.replaceAll('"','""')+'"',t=document.getElementById(e.dataset.for),
c=[...t.rows].map(r=>[...r.cells].map(x=>q(x.textContent)).join(',')).join('\n'),a=document.createElement('a');
a.href=URL.createObjectURL(new Blob([c],{type:'text/csv'}));a.download=e.dataset.for+'.csv';a.click()});
document.getElementById('theme').onclick=()=>{const r=document.documentElement;r.dataset.theme=getComputedStyle(r).getPropertyValue('--bg').trim()==='#fff'?'dark':'light'};)";

/// Cells are text, or HTML that the caller has escaped.
std::string html_table(const std::string& id, const std::vector<std::string>& columns, const std::vector<std::vector<std::string>>& rows, bool html = false) {
  std::string out = fmt::format("<div class=wide><table id=\"{}\"><thead><tr>", escaped(id));
  for (const auto& c : columns) out += "<th>" + escaped(c) + "</th>";
  out += "</tr></thead><tbody>";
  for (const auto& row : rows) {
    out += "<tr>";
    for (const auto& cell : row) {
      const bool numeric = !cell.empty() && cell.find_first_not_of("0123456789.+-e() ") == std::string::npos;
      out += fmt::format("<td{}>{}</td>", numeric ? " class=n" : "", html ? cell : escaped(cell));
    }
    out += "</tr>";
  }
  return out + fmt::format("</tbody></table></div><button class=csv data-for=\"{}\">download CSV</button>\n", escaped(id));
}

std::string replaced(std::string text, const std::vector<std::pair<std::string, std::string>>& pairs) {
  for (const auto& [from, to] : pairs) {
    for (std::size_t at = 0; (at = text.find(from, at)) != std::string::npos; at += to.size()) text.replace(at, from.size(), to);
  }
  return text;
}

/// The figure's SVG without its prologue, its colours those of the page's theme, its ids unique in the page, its caption as the accessible name.
std::string svg_inline(const std::filesystem::path& file, const std::string& id, const std::string& caption) {
  std::string svg = read_file(file);
  svg = svg.substr(svg.find("<svg"));
  const auto title = svg.find("<title>");
  if (title != std::string::npos) svg.erase(title, svg.find("</title>") + 8 - title);
  svg.replace(0, 4, fmt::format("<svg role=\"img\" aria-label=\"{}\"", escaped(caption)));
  return replaced(std::move(svg), {{"fill=\"#ffffff\"", "fill=\"var(--bg)\""}, {"#FFFFFF", "var(--bg)"}, {"fill = 'black'", "fill = 'currentColor'"}, {"fill=\"black\"", "fill=\"currentColor\""}, {"color=\"black\"", "color=\"currentColor\""},
                                   {"stroke=\"black\"", "stroke=\"currentColor\""}, {"stroke='black'", "stroke='currentColor'"}, {"rgb( 85,  85,  85)", "var(--soft)"}, {"rgb(85,85,85)", "var(--soft)"}, {"rgb(230, 230, 230)", "var(--line)"},
                                   {"rgb(  0, 114, 178)", "var(--c0)"}, {"rgb(213,  94,   0)", "var(--c1)"}, {"rgb(  0, 158, 115)", "var(--c2)"}, {"rgb(204, 121, 167)", "var(--c3)"},
                                   {"rgb(230, 159,   0)", "var(--c4)"}, {"rgb( 86, 180, 233)", "var(--c5)"}, {"rgb( 68,  68,  68)", "var(--c6)"}, {"rgb(153, 153, 153)", "var(--c7)"},
                                   {"id=\"gnuplot_", "id=\"" + id + "-"}, {"id='textbox", "id='" + id + "-textbox"}, {"id='greybox", "id='" + id + "-greybox"}, {"id=\"gp", "id=\"" + id + "-gp"}, {"id='gp", "id='" + id + "-gp"}, {"xlink:href='#gp", "xlink:href='#" + id + "-gp"}, {"url(#gp", "url(#" + id + "-gp"}});
}

/// Program, compiler and libraries; the same for every run of a build.
Json versions() {
  Json out{{"jko", JKO_VERSION}, {"compiler", JKO_COMPILER}};
  std::string_view list = JKO_DEPENDENCIES;  // "eigen=3.4.0;boost=1.74;..."
  while (!list.empty()) {
    const std::string_view entry = list.substr(0, list.find(';'));
    list.remove_prefix(std::min(list.size(), entry.size() + 1));
    const auto equals = entry.find('=');
    out[std::string(entry.substr(0, equals))] = std::string(entry.substr(equals + 1));
  }
  return out;
}

}  // namespace

double false_alarm(const std::vector<StudyResult>& results) {
  double sum = 0;
  for (const StudyResult& r : results) {
    // A family decided together by Holm's method (analysis/statistics.hpp) has its level shared out over its checks.
    for (const analysis::Check& c : r.checks) sum += c.false_alarm;
  }
  return std::min(1.0, sum);
}

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
  utsname system{};
  ::uname(&system);
  Json json{{"program", "jko"}, {"version", JKO_VERSION}, {"scale", name(options.scale)}, {"seed", options.seed}, {"threads", options.threads}, {"command", command}, {"versions", versions()},
            {"host", {{"name", host}, {"system", fmt::format("{} {}", system.sysname, system.release)}, {"machine", system.machine}, {"processors", std::thread::hardware_concurrency()}}},
            {"date", date}, {"summary", Json::object()}, {"studies", Json::array()}};
  int counts[3] = {0, 0, 0};
  std::vector<std::vector<std::string>> verdicts, contents;
  std::string body;
  const auto coloured = [](analysis::Verdict v) { return fmt::format("<span class={0}>{0}</span>", analysis::name(v)); };
  for (const StudyResult& r : results) {
    json["studies"].push_back(to_json(r, options));
    int own[3] = {0, 0, 0};
    body += fmt::format("<h2 id=\"{}\">{}</h2>\n<p>{}</p>\n", escaped(r.study), escaped(r.title), escaped(r.description));
    for (const auto& note : r.notes) body += "<p class=soft>" + escaped(note) + "</p>\n";
    for (const Figure& f : r.figures) {
      render(f, directory / "figures");
      body += fmt::format("<figure>{}<figcaption>{} <span class=soft>Data and script: figures/{}.dat, .gp</span></figcaption></figure>\n", svg_inline(directory / "figures" / (f.id + ".svg"), f.id, f.caption), escaped(f.caption), escaped(f.id));
    }
    for (const Table& t : r.tables) body += "<p>" + escaped(t.caption) + "</p>" + html_table(r.study + "-" + t.id, t.columns, t.rows);
    if (!r.checks.empty()) body += "<h3>Checks</h3>\n";
    for (const analysis::Check& c : r.checks) {
      ++counts[static_cast<int>(c.verdict)];
      ++own[static_cast<int>(c.verdict)];
      const std::string anchor = escaped(r.study + "-check-" + c.id);
      verdicts.push_back({fmt::format("<a href=\"#{0}\">{0}</a>", escaped(r.study)), fmt::format("<a href=\"#{}\">{}</a>", anchor, escaped(c.id)), escaped(c.claim), coloured(c.verdict), shown(c.statistic), shown(c.bound), shown(c.tolerance)});
      body += fmt::format("<div class=check id=\"{}\"><p>{} <b>{}</b> — {} <span class=soft>[{}]</span></p><p>computed {}, compared with {}, tolerance {}{}</p><p class=soft>{}{}</p></div>\n", anchor, coloured(c.verdict), escaped(c.id), escaped(c.claim),
                          escaped(c.source), shown(c.statistic), shown(c.bound), shown(c.tolerance), std::isfinite(c.p_value) ? fmt::format(", p = {:.3g}, effect {:.3g}", c.p_value, c.effect) : "",
                          c.reason.empty() ? "Tolerance: " : "Why inconclusive: ", escaped(c.reason.empty() ? c.tolerance_reason : c.reason));
    }
    body += fmt::format("<p class=soft>{:.1f} s. <a href=\"#top\">Back to the verdicts</a></p>\n", r.seconds);
    contents.push_back({fmt::format("<a href=\"#{}\">{}</a>", escaped(r.study), escaped(r.title)), std::to_string(own[0]), own[1] ? fmt::format("<span class=fail>{}</span>", own[1]) : "0", own[2] ? fmt::format("<span class=inconclusive>{}</span>", own[2]) : "0",
                        shown(false_alarm({r})), fmt::format("{:.1f}", r.seconds)});
  }
  const double alarm = false_alarm(results);
  json["summary"] = {{"pass", counts[0]}, {"fail", counts[1]}, {"inconclusive", counts[2]}, {"false_alarm", alarm}};
  std::string programs;
  for (const auto& [key, value] : json["versions"].items()) programs += fmt::format("{}{} {}", programs.empty() ? "" : ", ", key, value.get<std::string>());
  const std::string html = fmt::format(
      "<!doctype html><html lang=en><meta charset=utf-8><meta name=viewport content=\"width=device-width,initial-scale=1\">"
      "<title>jko validation report</title><style>{}</style>\n<h1 id=top>jko validation report</h1>\n"
      "<p><span class=pass>{} passed</span>, <span class={}>{} failed</span>, <span class={}>{} inconclusive</span>. <button id=theme>light/dark</button></p>\n"
      "<p>A correct program fails this report with probability at most {:.2g}: the sum of the false-alarm probabilities of its statistical checks (a bound under any dependence; exact as far as the estimates are normal). "
      "The other checks draw no random number. A pass is no proof: read each check's tolerance, which is what it could not have seen. Inconclusive: an assumption was not met. Sources in brackets: keys of docs/references.bib and labels of docs/theory.md.</p>\n"
      "<p class=soft>Scale {}, seed {}, {} threads, {}, host {} ({} {}, {}), {}.<br>Reproduce: <code>{}</code></p>\n<h3>Studies</h3>{}<h3>Verdicts</h3>{}{}<script>{}</script></html>\n",
      style, counts[0], counts[1] ? "fail" : "soft", counts[1], counts[2] ? "inconclusive" : "soft", counts[2], alarm, name(options.scale), options.seed, options.threads, date, escaped(host), system.sysname, system.release, system.machine,
      escaped(programs), escaped(command), html_table("studies", {"study", "pass", "fail", "inconclusive", "false alarm", "seconds"}, contents, true),
      html_table("verdicts", {"study", "check", "claim", "verdict", "computed", "compared with", "tolerance"}, verdicts, true), body, script);
  write_atomically(directory / "report.json", json.dump(1) + "\n");
  write_atomically(directory / "index.html", html);
}

}  // namespace jko::validation
