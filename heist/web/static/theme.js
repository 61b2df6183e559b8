// The theme that was chosen here before. Not a module, so that it is set before anything is painted.
if (localStorage.getItem("theme")) document.documentElement.dataset.theme = localStorage.getItem("theme");
