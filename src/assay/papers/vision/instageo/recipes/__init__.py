"""How InstaGeo is run: chips from scenes, a teacher and students by depth, rasters and a map."""
