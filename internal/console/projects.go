package console

import (
	"net/url"

	"github.com/purser-dev/purser"
)

// projects lists projects, with the form for a new one.
func (c *Console) projects(v *visit) (page, error) {
	list, err := do[purser.List[purser.Project]](v, "list_projects", purser.Page{Cursor: v.query("cursor"), Limit: 50})
	if err != nil {
		return page{}, err
	}
	resources, err := do[purser.List[purser.Resource]](v, "list_resources", purser.ListResources{Page: purser.Page{Limit: 25}})
	if err != nil {
		return page{}, err
	}
	return page{title: "Projects", parts: []part{
		{id: "projects", live: true, label: "Projects", body: projectsPart(v, list.Items)},
		{id: "older", body: more(after("/projects", list.NextCursor))},
		{id: "resources", live: true, body: resourcesPart(v, "The newest resources", resources.Items)},
		{id: "new", body: newProject(v)},
	}}, nil
}

// makeProject makes a project.
func (c *Console) makeProject(v *visit) (string, error) {
	p, err := do[purser.Project](v, "create_project", purser.CreateProject{Name: v.r.PostForm.Get("name")})
	return "/projects/" + url.PathEscape(p.ID), err
}

// project is one project with what lives in it.
func (c *Console) project(v *visit) (page, error) {
	id := v.r.PathValue("project")
	resources, err := do[purser.List[purser.Resource]](v, "list_resources", purser.ListResources{Project: id, State: v.query("state"), Page: purser.Page{Cursor: v.query("cursor"), Limit: 25}})
	if err != nil {
		return page{}, err
	}
	projects, err := do[purser.List[purser.Project]](v, "list_projects", purser.Page{Limit: 200})
	if err != nil {
		return page{}, err
	}
	name := id
	for _, p := range projects.Items {
		if p.ID == id {
			name = p.Name
		}
	}
	budgets, err := do[purser.List[purser.BudgetLine]](v, "list_budgets", purser.None{})
	if err != nil {
		return page{}, err
	}
	var own []purser.BudgetLine
	for _, b := range budgets.Items {
		if b.Scope == "project" && b.ID == id {
			own = append(own, b)
		}
	}
	return page{title: name, above: "Projects", abovePath: "/projects", side: stopForm(v, "project", id, "this project"), parts: []part{
		{id: "budgets", live: true, body: projectBudgets(v, own)},
		{id: "resources", live: true, body: resourcesPart(v, "Resources", resources.Items)},
		{id: "older", body: more(after("/projects/"+id, resources.NextCursor))},
	}}, nil
}

// resource is one thing that was provisioned.
func (c *Console) resource(v *visit) (page, error) {
	r, err := do[purser.Resource](v, "show_resource", purser.ResourceRef{Resource: v.r.PathValue("resource")})
	if err != nil {
		return page{}, err
	}
	seller, err := do[purser.ProviderInfo](v, "show_provider", purser.ProviderRef{Provider: r.Provider})
	if err != nil && purser.CodeOf(err) != purser.UnknownProvider {
		return page{}, err
	}
	return page{title: r.Name, above: "Projects", abovePath: "/projects/" + r.Project, parts: []part{
		{id: "resource", live: true, label: "The resource", body: resourcePart(v, r, seller)},
		{id: "remove", body: removePart(v, r)},
	}}, nil
}

// remove detaches or retires a resource; destroying one is signed.
func (c *Console) remove(v *visit) (string, error) {
	id := v.r.PathValue("resource")
	_, err := do[purser.Removal](v, "remove", purser.Remove{Resource: id, Mode: v.r.PostForm.Get("mode")})
	return "/resources/" + url.PathEscape(id), err
}
